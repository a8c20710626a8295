FROM rust:1-bookworm AS build
WORKDIR /src
COPY . .
# Shown by `seawall_build_info`: --build-arg SEAWALL_REVISION=$(git rev-parse --short HEAD)
ARG SEAWALL_REVISION=unknown
RUN SEAWALL_REVISION="$SEAWALL_REVISION" cargo build --release --locked --bin seawall

FROM debian:bookworm-slim
# A fixed number, so that a pod's securityContext can name it.
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin seawall
COPY --from=build /src/target/release/seawall /usr/local/bin/seawall
COPY config/ /etc/seawall/
USER 10001
EXPOSE 8080
# SIGTERM drains; give it longer than drain_delay and shutdown_grace together.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=5s --retries=3 \
    CMD ["seawall", "--config", "/etc/seawall", "healthcheck"]
ENTRYPOINT ["seawall", "--config", "/etc/seawall"]
CMD ["run"]
