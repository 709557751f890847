# Three stages: the dependencies, our own package, and the image that runs.
# The first two never reach the third but for the files it copies, so no build tool ends up in the image.

FROM python:3.11-slim-bookworm AS build

# The build tools live in an environment of their own: the base's Python may refuse packages of others.
RUN python3 -m venv /opt/tools && \
    /opt/tools/bin/pip install --no-cache-dir --disable-pip-version-check uv==0.9.30

# The environment is used with the Python of this very base, which the last stage has at the same place.
ENV UV_PROJECT_ENVIRONMENT=/opt/thingstorm \
    UV_PYTHON_DOWNLOADS=never \
    UV_PYTHON_PREFERENCE=only-system \
    UV_NO_CACHE=1

WORKDIR /src
COPY pyproject.toml uv.lock ./

# The build backend comes from the lock too, and now: a change of the sources then needs no network.
RUN /opt/tools/bin/uv export --frozen --quiet --only-group dev --no-hashes --output-file /opt/tools/locked.txt && \
    /opt/tools/bin/uv pip install --python /opt/tools/bin/python3 --constraints /opt/tools/locked.txt hatchling

RUN /opt/tools/bin/uv sync --frozen --no-dev --no-install-project --compile-bytecode

# Leave out what no run needs. Licences stay: they are in the *.dist-info folders.
# From the top: tests; stubs, headers and sources for compilers; what pyarrow has for S3 and Flight (its own C++
# clients, optional for it and not used here) and for linkers (copies of one library under three names);
# sample pictures; botocore's descriptions of the services that we do not call. sso, sso-oidc, signin and sts are how
# botocore itself gets credentials of a real account.
WORKDIR /opt/thingstorm/lib/python3.11/site-packages
RUN find . -depth -type d \( -name tests -o -path ./joblib/test \) -exec rm -rf {} + && \
    find . -type f \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.pxi' -o -name '*.a' \
      -o -name '*.h' -o -name '*.hpp' -o -name '*.c' -o -name '*.cc' -o -name '*.cpp' \) -delete && \
    find . -type d -empty -delete && \
    rm -rf pyarrow/include pyarrow/src pyarrow/*flight* pyarrow/*_s3* pyarrow/_pyarrow_cpp_tests* \
      pyarrow/libarrow_python*.so pyarrow/libarrow_python*.so.*.* matplotlib/mpl-data/sample_data && \
    for service in botocore/data/*/; do \
      case "$(basename "$service")" in \
        sns|sqs|dynamodb|dynamodbstreams|s3|iot|iot-data|firehose|lambda|kinesis) ;; \
        cloudformation|events|iam|logs|secretsmanager|sso|sso-oidc|signin|sts) ;; \
        *) rm -r "$service" ;; \
      esac; \
    done

# What was left out must not be missed: a new release of a dependency may need more than today's.
RUN /opt/thingstorm/bin/python3 -c "\
import amqtt, cryptography, duckdb, localstack_client.session, ministack.app, pyarrow.compute, pyarrow.parquet, boto3; \
import pyod.models.knn, pyod.models.pca, pyod.models.ecod, pyod.models.copod, pyod.models.hbos, pyod.models.iforest; \
[boto3.client(name, region_name='us-east-1') for name in boto3.Session().get_available_services()]"


# Our own package by itself, in the places where it goes: a change of the sources rebuilds only from here.
FROM build AS package

WORKDIR /src
COPY README.md LICENSE ./
COPY contracts/ contracts/
COPY thingstorm/ thingstorm/
COPY simulator/ simulator/
COPY broker/ broker/
COPY pipeline/ pipeline/
COPY analytics/ analytics/
COPY scenarios/ scenarios/
RUN /opt/tools/bin/hatchling build --target wheel --directory /wheel && \
    /opt/tools/bin/uv pip install --offline --no-deps --compile-bytecode \
      --python /opt/thingstorm/bin/python3 --prefix /package /wheel/*.whl


FROM python:3.11-slim-bookworm

# A fixed number, so that whoever mounts a folder knows whom to give it to. No home: nothing is kept there.
# /data is for what outlives a run, and is no VOLUME: a run that mounts nothing leaves nothing behind.
RUN groupadd --gid 10001 thingstorm && \
    useradd --uid 10001 --gid 10001 --no-log-init --no-create-home --home-dir /tmp \
      --shell /usr/sbin/nologin thingstorm && \
    install --directory --owner=thingstorm --group=thingstorm /data

# The root file system may be read-only; /tmp is the one place that libraries write to.
# Bytecode is compiled above, so none is written.
ENV PATH=/opt/thingstorm/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    MPLCONFIGDIR=/tmp/matplotlib \
    NUMBA_CACHE_DIR=/tmp/numba

# The large layer changes with uv.lock, the small one with our sources. Both belong to root: the program that runs
# cannot change itself.
COPY --from=build /opt/thingstorm/ /opt/thingstorm/
COPY --from=package /package/ /opt/thingstorm/
COPY --from=package /src/thingstorm/healthcheck.py /opt/thingstorm/healthcheck.py

WORKDIR /data
USER 10001:10001

ARG VERSION=dev
LABEL org.opencontainers.image.title="thingstorm" \
      org.opencontainers.image.description="AWS IoT real-time analytics on one machine, offline" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION"

# One file of the standard library: it runs every few seconds for as long as the container does.
HEALTHCHECK --interval=2s --timeout=3s --start-period=60s --retries=3 \
  CMD ["python3", "-I", "-S", "/opt/thingstorm/healthcheck.py"]

ENTRYPOINT ["thingstorm"]
CMD ["--help"]
