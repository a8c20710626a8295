FROM rust:1-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
# Shown by `seawall_build_info`: --build-arg SEAWALL_REVISION=$(git rev-parse --short HEAD)
ARG SEAWALL_REVISION=unknown
RUN SEAWALL_REVISION="$SEAWALL_REVISION" cargo build --release --locked --bin seawall
# Everything that the image holds but its configuration: the binary, the libraries and the loader
# that `ldd` names, the certificates by which it knows an archive's store, and the order in which
# host names are looked up.
RUN mkdir -p image/usr/local/bin image/etc data/journal data/archive data/replay \
    && strip --strip-debug -o image/usr/local/bin/seawall target/release/seawall \
    && ldd target/release/seawall | grep -o '/[^ ]*' | xargs -I{} cp -L --parents {} image \
    && echo etc/ssl/certs/ca-certificates.crt | xargs -I{} cp -L --parents /{} image \
    && echo 'hosts: files dns' >image/etc/nsswitch.conf

# No shell and no packages: nothing to patch but Seawall and the C library.
FROM scratch
COPY --from=build /src/image/ /
COPY config/ /etc/seawall/
# What mode archive keeps (`data`, from the working directory) outlives the container, and how far
# a replay came.
COPY --from=build --chown=10001:10001 /src/data/ /data/
VOLUME ["/data/journal", "/data/archive", "/data/replay"]
# Fixed numbers, so that a pod's securityContext can name them.
USER 10001:10001
EXPOSE 8080
# SIGTERM drains; give it longer than drain_delay and shutdown_grace together.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=5s --retries=3 \
    CMD ["/usr/local/bin/seawall", "--config", "/etc/seawall", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/seawall", "--config", "/etc/seawall"]
CMD ["run"]
