# Two images: `serve` answers over HTTP and knows no TensorFlow; `train` makes bundles.
#
#   docker build --target serve -t foretoken .
#   docker build --target train -t foretoken-train .

FROM python:3.11-slim AS base
ENV PYTHONUNBUFFERED=1
RUN useradd --uid 10001 --create-home foretoken
WORKDIR /app


FROM base AS serve-packages
COPY requirements/serve.txt requirements/
# Bytecode is left out here: it is written below, for what the service really imports.
RUN python -m venv /opt/venv \
 && /opt/venv/bin/python -m pip install \
      --no-input -q --no-cache-dir --no-compile -r requirements/serve.txt \
 && cd /opt/venv/lib/python3.11/site-packages \
 && rm -rf pip pip-* setuptools* pkg_resources _distutils_hack distutils-precedence.pth \
      numpy/*/tests numpy/tests numpy/f2py zmq/tests \
      ai_edge_litert/tools ai_edge_litert/vendors ai_edge_litert/libLiteRtWebGpuAccelerator.so \
 && find . -name '*.pyi' -delete


FROM base AS serve
COPY --from=serve-packages /opt/venv /opt/venv
COPY model model
COPY service service
COPY deploy deploy
COPY --chown=foretoken bundles /bundles
ENV PATH=/opt/venv/bin:$PATH
ENV FORETOKEN_HOST=0.0.0.0 FORETOKEN_PORT=8000 FORETOKEN_BUNDLES=/bundles/travel
# Checks settings and bundle, and leaves the bytecode that a read-only container could not write.
RUN python -m service --check \
 && python -c 'import service.http_server, service.engine.main, model.runtime.litert_runtime'
ENV PYTHONDONTWRITEBYTECODE=1
USER foretoken
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
  CMD ["python", "-I", "/app/deploy/healthcheck.py"]
ENTRYPOINT ["python", "-m", "service"]


FROM base AS train
COPY requirements/serve.txt requirements/train.txt requirements/
RUN python -m venv /opt/venv \
 && /opt/venv/bin/python -m pip install \
      --no-input -q --no-cache-dir --no-compile -r requirements/train.txt
COPY model model
COPY training training
COPY --chown=foretoken bundles /bundles
RUN install -d -o foretoken /runs
ENV PATH=/opt/venv/bin:$PATH
ENV FORETOKEN_BUNDLES=/bundles FORETOKEN_RUNS=/runs
USER foretoken
ENTRYPOINT ["python", "-m", "training"]
CMD ["--help"]


# What is built when no target is named.
FROM serve
