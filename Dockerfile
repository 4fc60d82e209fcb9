# One static binary in an empty image: no shell, no package, nothing to patch
# but the binary. It runs one role beside a Redis of yours, as in
# docker-compose.yml; the embedded Redis of `serve` needs a redis-server and is
# for machines without containers.
ARG GO_VERSION=1.26

FROM golang:${GO_VERSION} AS build
WORKDIR /src
# The modules first: they change seldom, and this layer is kept.
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false \
      -ldflags "-s -w -X main.version=${VERSION}" \
      -o /out/gateway-cron ./cmd/gateway-cron

FROM scratch
ARG VERSION=dev
LABEL org.opencontainers.image.title="Gateway Cron" \
      org.opencontainers.image.description="Cron jobs for agents: schedules, runs and replies that happen once" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}"
# For calls to channels over TLS. Time zones are in the binary.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/gateway-cron /gateway-cron
# A number, so that an orchestrator can see that it is not root.
USER 65532:65532
EXPOSE 19790
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
  CMD ["/gateway-cron", "healthcheck"]
ENTRYPOINT ["/gateway-cron"]
CMD ["serve"]
