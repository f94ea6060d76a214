# The example services and the `bus` command, in one image.
#
#   docker build -t bus-orders .                          built from source
#   docker build -t bus-orders --target prebuilt --build-arg BINARIES=DIRECTORY .
#                                                         of binaries that were built on the host
#
# Both base images are arguments. The program needs no more than a C library at run time.
ARG RUST_IMAGE=rust:1-trixie
ARG RUNTIME_IMAGE=debian:trixie-slim

FROM ${RUNTIME_IMAGE} AS runtime
# A number, so that a cluster can see that it is not root; no account is needed.
RUN install -d -o 10001 -g 10001 /var/lib/orders
USER 10001:10001
WORKDIR /var/lib/orders
STOPSIGNAL SIGTERM
ENTRYPOINT ["orders"]
CMD ["--help"]

FROM runtime AS prebuilt
ARG BINARIES=target/release
COPY ${BINARIES}/bus ${BINARIES}/orders /usr/local/bin/

FROM ${RUST_IMAGE} AS build
# The client of Kafka is a C library.
RUN apt-get update && apt-get install -y --no-install-recommends cmake g++ make
WORKDIR /src
COPY . .
ARG FEATURES=redis,nats,kafka
RUN cargo build --locked --release -p orders --features "$FEATURES" \
 && cargo build --locked --release -p bus-cli --features "$FEATURES" \
 && strip target/release/orders target/release/bus

FROM runtime AS orders
COPY --from=build /src/target/release/bus /src/target/release/orders /usr/local/bin/
