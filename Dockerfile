# The worker, the producer's side and the command line, without anything that only tests need.
FROM python:3.11-slim AS build
WORKDIR /src
COPY pyproject.toml requirements.lock README.md LICENSE CHANGELOG.md ./
COPY topicserve topicserve
# The lock's versions as constraints. Its hashes are left out: pip asks for all or none, and the
# package that is built here has none.
RUN sed -E '/^ +--hash/d; s/ *\\$//' requirements.lock > constraints.txt \
    && python -m venv /opt/topicserve \
    && /opt/topicserve/bin/pip install --no-cache-dir --disable-pip-version-check \
       --constraint constraints.txt '.[worker,confluent,fast]'

FROM python:3.11-slim
COPY --from=build /opt/topicserve /opt/topicserve
ENV PATH=/opt/topicserve/bin:$PATH PYTHONUNBUFFERED=1
RUN useradd --uid 10001 --no-create-home topicserve
USER 10001
EXPOSE 8080
# SIGTERM drains: give the container longer than delivery.shutdown_timeout_seconds.
STOPSIGNAL SIGTERM
ENTRYPOINT ["topicserve"]
CMD ["worker", "--help"]
