# syntax=docker/dockerfile:1

FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
COPY third_party ./third_party
RUN go mod download
COPY . .
ARG VERSION=dev
ARG COMMIT=unknown
ARG DATE=unknown
RUN CGO_ENABLED=0 go build -trimpath \
      -ldflags "-s -w -X main.version=${VERSION} -X main.commit=${COMMIT} -X main.date=${DATE}" \
      -o /out/gatewarden ./cmd/gatewarden \
 && mkdir -p /out/data

# Certificates of public authorities and an unprivileged user, and nothing else.
FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/gatewarden /usr/local/bin/gatewarden
COPY --from=build --chown=65532:65532 /out/data /var/lib/gatewarden
USER 65532:65532
WORKDIR /var/lib/gatewarden
# 4455 proxy, 4456 management API (loopback unless configured otherwise), 4444 OAuth 2.0
EXPOSE 4455 4456 4444
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s \
  CMD ["/usr/local/bin/gatewarden", "health", "alive"]
ENTRYPOINT ["/usr/local/bin/gatewarden"]
CMD ["serve", "all"]
