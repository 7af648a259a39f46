# Images of the server and of the client from static programs that are built already. They need
# no other image, and so no registry:
#
#   cargo static --target x86_64-unknown-linux-gnu
#   docker build -f examples/docker/prebuilt.Dockerfile --target mgroks -t mgroks \
#       target/x86_64-unknown-linux-gnu/release
#
# `docker run` and the health check as in Dockerfile. For log lines in local time, add -v /etc/localtime:/etc/localtime:ro.

FROM scratch AS mgroks
COPY mgroks /usr/bin/mgroks
WORKDIR /etc/mgrok
# Nobody in particular. Container engines let everybody bind ports below 1024.
USER 65532:65532
HEALTHCHECK --start-period=10s CMD ["/usr/bin/mgroks", "health", "-c", "/etc/mgrok/server.toml"]
ENTRYPOINT ["/usr/bin/mgroks"]
CMD ["-c", "/etc/mgrok/server.toml"]

FROM scratch AS mgrokc
COPY mgrokc /usr/bin/mgrokc
WORKDIR /etc/mgrok
USER 65532:65532
HEALTHCHECK --start-period=10s CMD ["/usr/bin/mgrokc", "health", "-c", "/etc/mgrok/client.toml"]
ENTRYPOINT ["/usr/bin/mgrokc"]
CMD ["-c", "/etc/mgrok/client.toml"]
