# vipnas on a machine with NVIDIA GPUs. Not built by us: we have no Docker here. If it fails for you, please report how.
#   docker build -t vipnas .
#   docker run --rm --gpus all --ipc=host vipnas doctor
#   docker run --rm --gpus all --ipc=host -v "$PWD:/data" vipnas train-supernet mine.yaml
# The folder /data is where commands run; runs and data are to lie there. --ipc=host: Ray and data loading share memory.
# Latency measured in here is that of this machine's CPU: measure on a machine of the kind that will serve the network.
FROM python:3.11-slim
# libgl1, libglib2.0-0: OpenCV. The CUDA libraries come with PyTorch's build, the driver from the host.
RUN apt-get update && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/vipnas
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY search_spaces search_spaces
COPY supernet supernet
COPY evaluators evaluators
COPY configs configs
COPY nas nas
RUN pip install --no-cache-dir -c constraints.txt .
# Runs as whoever is named with --user, too: caches go to the data.
ENV XDG_CACHE_HOME=/data/.cache
WORKDIR /data
ENTRYPOINT ["vipnas"]
CMD ["--help"]
