# The image of a release: `make dist`, then `docker build -t tidegate .`. Nothing is built or downloaded here but the
# base: no shell, the certificates of the usual authorities, and the user 65532. With `--build-arg BASE=scratch` there is
# no base, nothing is downloaded, and the certificates of who is to be trusted come from elsewhere.
ARG BASE=gcr.io/distroless/static-debian12:nonroot
FROM ${BASE}

# amd64 or arm64; `make dist ARCH=aarch64` makes the latter.
ARG TARGETARCH=amd64
COPY --chmod=755 dist/image/${TARGETARCH}/tidegate /usr/bin/tidegate

# Where compiled plugins are kept: of the user, and so is a new volume that is mounted there.
COPY --chown=65532:65532 dist/image/cache /var/cache/tidegate

# The handlers and policies that ship. Yours go into an image made from this one, or are mounted here.
USER 0
RUN ["/usr/bin/tidegate", "plugins", "export", "/plugins"]
USER 65532:65532

# tidegate.toml is looked for here. With a root that is read-only, mount something to write to at /var/cache/tidegate.
WORKDIR /etc/tidegate
ENV XDG_CACHE_HOME=/var/cache

# Asks the address that is `http` in tidegate.toml, and is unhealthy where none is. It reads the file as it is now: where
# that may become another than the host was started with, name the address (`--http 8222`).
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s CMD ["/usr/bin/tidegate", "health"]
# What drains on SIGTERM has `grace` for it (30 s): stop it with `docker stop --time 60`.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/tidegate"]
CMD ["run"]
