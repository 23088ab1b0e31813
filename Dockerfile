# The worker, the producer's side and the command line, without anything that only tests need.
#
#   docker build .                 all kinds of servables
#   docker build --target onnx .   all kinds but saved_model: no TensorFlow
FROM python:3.11-slim AS source
WORKDIR /src
COPY pyproject.toml requirements.lock README.md LICENSE CHANGELOG.md ./
COPY topicserve topicserve
# The lock's versions as constraints. Its hashes are left out: pip asks for all or none, and the
# package that is built here has none.
RUN sed -E '/^ +--hash/d; s/ *\\$//' requirements.lock > constraints.txt \
    && python -m venv /opt/topicserve
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

FROM source AS install-onnx
RUN /opt/topicserve/bin/pip install --constraint constraints.txt '.[onnx,open-inference,tf-serving,confluent,fast,images]'

FROM source AS install-worker
RUN /opt/topicserve/bin/pip install --constraint constraints.txt '.[worker,onnx,open-inference,tf-serving,confluent,fast,images]'

FROM python:3.11-slim AS base
ENV PATH=/opt/topicserve/bin:$PATH PYTHONUNBUFFERED=1
# ONNX Runtime's operators on texts (StringNormalizer, of scikit-learn's vectorizers) need it.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends locales \
    && localedef -i en_US -f UTF-8 en_US.UTF-8 \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 10001 --no-create-home topicserve
USER 10001
EXPOSE 8080
# SIGTERM drains: give the container longer than delivery.shutdown_timeout_seconds.
STOPSIGNAL SIGTERM
ENTRYPOINT ["topicserve"]
CMD ["worker", "--help"]

FROM base AS onnx
COPY --from=install-onnx /opt/topicserve /opt/topicserve

FROM base AS worker
COPY --from=install-worker /opt/topicserve /opt/topicserve
