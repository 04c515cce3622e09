# Two images: `serve` answers over HTTP and knows no TensorFlow; `train` makes bundles.
#
#   docker build --target serve -t foretoken .
#   docker build --target train -t foretoken-train .
#
# Both are put together from scratch: the base image with the packages is copied in as one layer, so that
# what was deleted takes no room, and a root directory that only root may enter becomes one for everybody.
# That layer is the same until the requirements change; the program and its bytecode lie on top of it.

FROM python:3.11-slim AS base
RUN useradd --uid 10001 --user-group --create-home foretoken
WORKDIR /app


FROM base AS serve-packages
COPY requirements/serve.txt requirements/container-packages requirements/
RUN requirements/container-packages requirements/serve.txt && rm -r requirements


# The passes over the vocabulary, compiled. Where no compiler can be had, the image samples with NumPy.
FROM base AS kernel
RUN command -v cc \
 || (apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev) \
 || echo "no compiler can be installed"
COPY model/__init__.py model/errors.py model/
COPY model/kernel model/kernel
RUN python -B -m model.kernel.build --optional


# The bytecode of all that is really imported lies in one folder: a read-only container writes none.
FROM serve-packages AS serve-program
COPY model model
COPY --from=kernel /app/model/kernel model/kernel
COPY service service
COPY deploy/healthcheck.py deploy/
COPY bundles /bundles
RUN export PYTHONPYCACHEPREFIX=/opt/bytecode \
 && /opt/venv/bin/python -m service --check --bundles /bundles \
 && /opt/venv/bin/python -c 'import service.http_server, service.engine.main'


FROM scratch AS image
# Of what the base image sets, this is what a running Python needs.
ENV PATH=/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8
ENV PYTHONUNBUFFERED=1 PYTHONPYCACHEPREFIX=/opt/bytecode PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
# By number, so that Kubernetes can see that it is not root: the user foretoken.
USER 10001:10001


FROM image AS serve
ENV FORETOKEN_HOST=0.0.0.0 FORETOKEN_PORT=8000 FORETOKEN_BUNDLES=/bundles/travel
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
  CMD ["python", "-I", "/app/deploy/healthcheck.py"]
ENTRYPOINT ["python", "-m", "service"]
COPY --from=serve-packages / /
COPY --from=serve-program /opt/bytecode /opt/bytecode
COPY --from=serve-program /app /app
COPY --chown=10001:10001 bundles /bundles


FROM base AS train-packages
COPY requirements/serve.txt requirements/train.txt requirements/container-packages requirements/
RUN requirements/container-packages requirements/train.txt && rm -r requirements


FROM train-packages AS train-program
COPY model model
COPY training training
RUN mkdir /runs && export PYTHONPYCACHEPREFIX=/opt/bytecode \
 && /opt/venv/bin/python -c 'import training.__main__, training.pipeline'


FROM image AS train
ENV FORETOKEN_BUNDLES=/bundles FORETOKEN_RUNS=/runs HOME=/home/foretoken
ENTRYPOINT ["python", "-m", "training"]
CMD ["--help"]
COPY --from=train-packages / /
COPY --from=train-program /opt/bytecode /opt/bytecode
COPY --from=train-program /app /app
COPY --from=train-program --chown=10001:10001 /runs /runs
COPY --chown=10001:10001 bundles /bundles


# What is built when no target is named.
FROM serve
