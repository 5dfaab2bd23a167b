"""Sends the calls that stand on standard input, one JSON object on a line, with boto3, and writes an answer for each.

A call is {endpoint, region, id, secret, token, service, op, params}; an answer {answer}, {refused: {status, code, message}} or
{failed: text}. An empty op asks for the
operations that there are. It tries nothing twice, and leaves the judgement of parameters to the server.
"""
import base64
import datetime
import json
import sys

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

session = boto3.session.Session()
clients = {}


def client(call):
    signed = bool(call["id"])
    name = (call["service"], call["endpoint"], signed)
    if name not in clients:
        config = Config(retries={"total_max_attempts": 1}, parameter_validation=False, connect_timeout=10, read_timeout=60,
                        signature_version=None if signed else UNSIGNED)
        clients[name] = session.client(call["service"], endpoint_url=call["endpoint"], region_name=call["region"], config=config,
                                       aws_access_key_id="unused", aws_secret_access_key="unused")
    c = clients[name]
    c._request_signer._credentials = Credentials(call["id"], call["secret"], call["token"] or None) if signed else None
    return c


def plain(value):
    if isinstance(value, dict):
        return {name: plain(v) for name, v in value.items() if name != "ResponseMetadata"}
    if isinstance(value, list):
        return [plain(v) for v in value]
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value


def do(call):
    try:
        if call["op"] == "":
            return {"answer": {"operations": [o for o in client(call).meta.service_model.operation_names]}}
        return {"answer": plain(client(call)._make_api_call(call["op"], call["params"]))}
    except ClientError as e:
        error = e.response["Error"]
        return {"refused": {"status": e.response["ResponseMetadata"]["HTTPStatusCode"], "code": error["Code"], "message": error.get("Message", "")}}
    except Exception as e:  # whatever it is, the other side tells it
        return {"failed": "%s: %s" % (type(e).__name__, e)}


for line in sys.stdin:
    print(json.dumps(do(json.loads(line))), flush=True)
