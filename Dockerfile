# Images of the server and of what runs beside it. None has a library of the training side, a compiler or a secret, and
# none downloads anything when it runs. They run with a read-only root file system, as user 10001:
#   docker build --tag scorewire-server .
#   docker run --read-only --volume "$PWD/models:/models:ro" --publish 8500:8500 scorewire-server
# `docker build .` builds the last target, `server`. The others, by --target: `server-records` (a server that records
# predictions), `gateway` and `mlflow`. deploy/compose runs them together.
FROM rust:1.95-slim-bookworm AS native
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /opt/maturin
WORKDIR /build
COPY requirements/native.lock ./
RUN /opt/maturin/bin/pip install --no-cache-dir --no-deps --require-hashes -r native.lock
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
# Cargo wants to see every crate of the workspace.
COPY clients/loadtest/native clients/loadtest/native
COPY server/native server/native
RUN /opt/maturin/bin/maturin build --release --locked --manifest-path server/native/Cargo.toml --out wheels

# The environments have no pip: the one of this image installs into them.
FROM python:3.13-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
COPY requirements/build.lock ./
RUN pip install --no-deps --require-hashes -r build.lock \
    && python -m venv --without-pip /opt/scorewire
COPY proto/python contract

FROM build AS build-server
COPY requirements/server.lock ./
RUN pip --python /opt/scorewire install --no-deps --require-hashes -r server.lock
COPY server server
COPY --from=native /build/wheels wheels
RUN pip wheel --no-deps --no-build-isolation --wheel-dir wheels ./contract ./server \
    && pip --python /opt/scorewire install --no-deps wheels/*.whl

FROM build-server AS build-server-records
COPY requirements/records.lock ./
RUN pip --python /opt/scorewire install --no-deps --require-hashes -r records.lock
COPY clients/records records
RUN pip wheel --no-deps --no-build-isolation --wheel-dir records-wheels ./records \
    && pip --python /opt/scorewire install --no-deps records-wheels/*.whl

FROM build AS build-gateway
COPY requirements/gateway.lock ./
RUN pip --python /opt/scorewire install --no-deps --require-hashes -r gateway.lock
COPY clients/python sdk
COPY clients/records records
COPY clients/gateway gateway
RUN pip wheel --no-deps --no-build-isolation --wheel-dir wheels ./contract ./sdk ./records ./gateway \
    && pip --python /opt/scorewire install --no-deps wheels/*.whl

FROM build AS build-mlflow
COPY requirements/mlflow.lock ./
RUN pip --python /opt/scorewire install --no-deps --require-hashes -r mlflow.lock

FROM python:3.13-slim-bookworm AS base
ENV PATH=/opt/scorewire/bin:$PATH PYTHONDONTWRITEBYTECODE=1
# A new volume gets the owner of the folder that it is mounted on.
RUN useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin scorewire \
    && install --directory --owner scorewire --group scorewire /models /records /state /artifacts /uploads
USER 10001:10001
STOPSIGNAL SIGTERM

FROM base AS gateway
COPY --from=build-gateway /opt/scorewire /opt/scorewire
ENV SCOREWIRE_GATEWAY_LISTEN=0.0.0.0:8080
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://localhost:8080/health', timeout=2)"]
ENTRYPOINT ["scorewire", "gateway"]

FROM base AS mlflow
COPY --from=build-mlflow /opt/scorewire /opt/scorewire
EXPOSE 5000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://localhost:5000/health', timeout=2)"]
ENTRYPOINT ["mlflow"]

FROM base AS serving
ENV SCOREWIRE_MODELS=/models SCOREWIRE_LISTEN=0.0.0.0:8500
VOLUME /models
EXPOSE 8500
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["python", "-m", "scorewire_server.healthcheck", "127.0.0.1:8500"]
ENTRYPOINT ["scorewire", "serve"]

FROM serving AS server-records
COPY --from=build-server-records /opt/scorewire /opt/scorewire

FROM serving AS server
COPY --from=build-server /opt/scorewire /opt/scorewire
