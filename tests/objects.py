"""Object stores for tests: an S3 server of this process, and stores that take a test through both kinds."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import uuid4

import boto3
import pytest
from moto.server import ThreadedMotoServer

from mainstay.kernel.objects import Objects

KEY_ID = "test-key"
SECRET = "test-secret-of-the-bucket"


@dataclass(frozen=True)
class S3Server:
    """An S3 server on loopback."""

    endpoint: str

    def client(self) -> "boto3.client":
        """Its own client library, to look at it from outside."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=KEY_ID,
            aws_secret_access_key=SECRET,
        )

    def bucket(self) -> str:
        """The name of a new, empty bucket."""
        name = f"b-{uuid4().hex[:12]}"
        self.client().create_bucket(Bucket=name)
        return name

    def objects(self, bucket: str, prefix: str = "") -> Objects:
        """A bucket as the product sees it."""
        return Objects.open(f"s3://{bucket}/{prefix}", endpoint=self.endpoint, key_id=KEY_ID, secret=SECRET)

    def settings(self, bucket: str) -> dict[str, str]:
        """The settings that lead there."""
        return {
            "OBJECT_STORE": f"s3://{bucket}",
            "S3_ENDPOINT": self.endpoint,
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """An S3 server for the whole run, with buckets of each test's own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    yield S3Server(f"http://127.0.0.1:{port}")
    server.stop()
