# mien on a CPU.
#
#   docker build -t mien .
#   docker run --rm -v "$PWD:/work" mien edit clip.mp4 --emotion sad -o sad.mp4
#   docker run --rm -p 8000:8000 -e MIEN_TOKENS=... mien serve --host 0.0.0.0
FROM python:3.12-slim AS build
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./
COPY src src
RUN python -m venv /opt/mien \
    && /opt/mien/bin/pip install --no-cache-dir --constraint constraints.txt ".[serve,provenance]" \
    && /opt/mien/bin/pip uninstall --yes pip

FROM python:3.12-slim
COPY --from=build /opt/mien /opt/mien
RUN useradd --create-home mien && mkdir /work && chown mien /work
ENV PATH=/opt/mien/bin:$PATH PYTHONDONTWRITEBYTECODE=1
USER mien
WORKDIR /work
EXPOSE 8000
ENTRYPOINT ["mien"]
CMD ["--help"]
