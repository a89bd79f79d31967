# docker build -t assimilate .                                       with CUDA's libraries, as PyTorch's wheels bring them: 7 GB
# docker build -t assimilate:cpu --build-arg TORCH_BACKEND=cpu .     without them: 2 GB
#
# docker run --rm --user "$(id -u)" -v "$PWD/outputs:/out" assimilate:cpu train view.solver=ray
# docker run --rm --user "$(id -u)" -v "$PWD/outputs:/out" -v /my/images:/images:ro --gpus all --ipc=host assimilate \
#     train dataset=folder dataset.root=/images
FROM python:3.13-slim

# One of uv's --torch-backend: cpu, cu130, …; empty takes PyTorch's default, a recent CUDA.
ARG TORCH_BACKEND=""
RUN pip install --no-cache-dir --root-user-action=ignore uv
WORKDIR /assimilate
COPY pyproject.toml README.md LICENSE ./
COPY src src
COPY conf conf
COPY experiments experiments
RUN uv pip install --system --no-cache --compile-bytecode ${TORCH_BACKEND:+--torch-backend=$TORCH_BACKEND} . \
    && assimilate --version

ENV ASSIMILATE_OUT=/out ASSIMILATE_DATA=/out/data
VOLUME /out
WORKDIR /out
ENTRYPOINT ["assimilate"]
CMD ["--help"]
