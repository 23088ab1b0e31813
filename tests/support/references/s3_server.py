"""moto's S3, a server of the same API, in an environment of its own, with accounts and rights."""

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.peer_environments import python_of
from tests.support.processes.child_process import ChildProcess

START_SECONDS = 120.0
# Rights count from the first request after those that set them up.
_PROGRAM = """
import json, os, sys, threading
told = json.loads(sys.argv[1])
count = 3 + len(told["buckets"]) + len(told["objects"])
os.environ.update(INITIAL_NO_AUTH_ACTION_COUNT=str(count), AWS_DEFAULT_REGION="us-east-1")
import botocore.session
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
log, sys.stdout = sys.stdout, sys.stderr
server.start()
url = "http://{}:{}".format(*server.get_host_and_port())
session = botocore.session.get_session()
session.set_credentials("setup", "setup")
s3, iam = (session.create_client(name, endpoint_url=url) for name in ("s3", "iam"))
for bucket in told["buckets"]:
    s3.create_bucket(Bucket=bucket)
for name, body in told["objects"].items():
    bucket, _, key = name.partition("/")
    s3.put_object(Bucket=bucket, Key=key, Body=body.encode())
iam.create_user(UserName="worker")
key = iam.create_access_key(UserName="worker")["AccessKey"]
policy = {"Version": "2012-10-17", "Statement": told["rights"]}
iam.put_user_policy(UserName="worker", PolicyName="all", PolicyDocument=json.dumps(policy))
environment = {
    "AWS_ENDPOINT_URL": url,
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
    "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
}
print(json.dumps(environment), file=log, flush=True)
threading.Event().wait()
"""


def site_packages() -> str:
    """Return where s3fs lies, for the programs that are to import it."""
    code = "import s3fs, pathlib; print(pathlib.Path(s3fs.__file__).parents[1])"
    done = subprocess.run(
        [python_of("s3"), "-c", code], check=True, capture_output=True, text=True, timeout=300
    )
    return done.stdout.strip()


@contextmanager
def an_s3_server(
    directory: Path,
    objects: Mapping[str, str],
    buckets: Sequence[str],
    rights: Sequence[Mapping[str, Any]],
) -> Iterator[Mapping[str, str]]:
    """Yield the environment variables by which an account with these rights finds the server.

    `objects` has bodies by bucket and key, `rights` are the statements of an IAM policy.
    """
    told = json.dumps({"objects": dict(objects), "buckets": list(buckets), "rights": list(rights)})
    program = [str(python_of("s3")), "-c", _PROGRAM, told]
    with ChildProcess(program, directory / "s3.log") as server:
        environment: dict[str, str] = json.loads(server.read_line(START_SECONDS))
        yield environment
