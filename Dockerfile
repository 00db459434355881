# The server alone: no library of the training side, no compiler, and no downloads at run time.
# It runs with a read-only root file system:
#   docker run --read-only --volume "$PWD/models:/models:ro" --publish 8500:8500 scorewire-server
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

FROM python:3.13-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
RUN python -m venv /opt/scorewire
COPY requirements/server.lock requirements/build.lock ./
RUN pip install --no-deps --require-hashes -r build.lock \
    && /opt/scorewire/bin/pip install --no-deps --require-hashes -r server.lock
COPY proto/python contract
COPY server server
COPY --from=native /build/wheels wheels
RUN pip wheel --no-deps --no-build-isolation --wheel-dir wheels ./contract ./server \
    && /opt/scorewire/bin/pip install --no-deps wheels/*.whl \
    && /opt/scorewire/bin/pip uninstall --yes pip

FROM python:3.13-slim-bookworm
COPY --from=build /opt/scorewire /opt/scorewire
ENV PATH=/opt/scorewire/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    SCOREWIRE_MODELS=/models \
    SCOREWIRE_LISTEN=0.0.0.0:8500
RUN useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin scorewire
USER 10001:10001
VOLUME /models
EXPOSE 8500
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["python", "-m", "scorewire_server.healthcheck", "127.0.0.1:8500"]
ENTRYPOINT ["scorewire", "serve"]
