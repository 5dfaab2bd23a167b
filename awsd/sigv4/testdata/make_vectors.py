#!/usr/bin/env python3
"""Writes botocore.json: requests signed by botocore, for vectors_test.go.

Run it by hand with botocore installed: python3 make_vectors.py > botocore.json
Keys and tokens are the examples of AWS's documentation.
"""
import datetime
import json
import sys
from email.utils import formatdate
from urllib.parse import quote, urlsplit

import botocore
import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

NOW = datetime.datetime(2026, 3, 14, 15, 9, 26)
KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
TOKEN = "IQoJb3JpZ2luX2VjEXAMPLE//////////wEaCXVzLWVhc3QtMSJHMEUCIQ=="
REGION = "ap-southeast-2"


class Clock(datetime.datetime):
    @classmethod
    def utcnow(cls):
        return NOW

    @classmethod
    def now(cls, tz=None):
        return NOW.replace(tzinfo=tz)


if hasattr(botocore.auth, "get_current_datetime"):
    botocore.auth.get_current_datetime = lambda *a, **k: NOW
botocore.auth.datetime.datetime = Clock
EPOCH = int(NOW.replace(tzinfo=datetime.timezone.utc).timestamp())
botocore.auth.formatdate = lambda usegmt: formatdate(EPOCH, usegmt=usegmt)
botocore.auth.HmacV1QueryAuth._get_date = lambda self: str(EPOCH + int(self._expires))

HEADER = {"s3": botocore.auth.S3SigV4Auth}
QUERY = {"s3": botocore.auth.S3SigV4QueryAuth}


def vector(name, service, method, url, headers=(), body=b"", token=None, expires=None, signing_region=REGION, auth_path=None):
    credentials = Credentials(KEY, SECRET, token)
    request = AWSRequest(method=method, url=url, headers=dict(headers), data=body if expires is None else b"", auth_path=auth_path)
    if service == "s3v2":
        service = "s3"
        if expires is None:
            signer = botocore.auth.HmacV1Auth(credentials)
        else:
            signer = botocore.auth.HmacV1QueryAuth(credentials, expires)
    elif expires is None:
        signer = HEADER.get(service, botocore.auth.SigV4Auth)(credentials, service, signing_region)
    else:
        signer = QUERY.get(service, botocore.auth.SigV4QueryAuth)(credentials, service, signing_region, expires=expires)
    signer.add_auth(request)
    prepared = request.prepare()
    parts = urlsplit(prepared.url)
    target = (parts.path or "/") + ("?" + parts.query if parts.query else "")
    sent = [[k, v.decode() if isinstance(v, bytes) else v] for k, v in prepared.headers.items()]
    return {"name": name, "service": service, "method": method, "target": target, "host": parts.netloc,
            "headers": sent, "body": body.decode(), "token": token or ""}


def vectors2(keys):
    s3, virtual = "http://s3.example.test:9999", "http://my.bucket.s3.example.test:9999"
    meta = {"x-amz-meta-note": " two   spaces ", "x-amz-acl": "private"}
    typed = {"Content-Type": "text/plain", "Content-MD5": "XUFAKrxLKna5cZ2REBfFkg==", **meta}
    for key in keys:
        path = quote(key, safe="/~")
        for url in s3 + "/my.bucket/" + path, virtual + "/" + path:
            style = "virtual " if url.startswith(virtual) else ""
            auth_path = "/my.bucket/" + path
            yield vector("s3v2 " + style + "get " + key, "s3v2", "GET", url, auth_path=auth_path)
            yield vector("s3v2 " + style + "put " + key, "s3v2", "PUT", url, typed, b"hello", auth_path=auth_path)
            yield vector("s3v2 presigned " + style + "get " + key, "s3v2", "GET", url, expires=60, auth_path=auth_path)
            yield vector("s3v2 presigned " + style + "put " + key, "s3v2", "PUT", url, typed, b"hello", expires=60, auth_path=auth_path)
    for query in ["", "encoding-type=url&prefix=a%2Fb", "uploads", "versionId=v%3D1%2B&response-content-type=a%2Fb",
                  "uploadId=u&partNumber=1", "tagging", "delete", "location",
                  "response-content-disposition=attachment%3B%20filename%3D%22a%26b%2Bc%20%C3%A9.txt%22&response-expires=x"]:
        for expires in None, 60:
            tail = ("?" if query else "") + query
            name = ("presigned " if expires else "") + "query " + query
            yield vector("s3v2 " + name, "s3v2", "GET", s3 + "/my.bucket" + tail, expires=expires, auth_path="/my.bucket/")
            yield vector("s3v2 virtual " + name, "s3v2", "GET", virtual + "/" + tail, expires=expires, auth_path="/my.bucket/")
    for expires in None, 60:
        yield vector("s3v2 buckets %s" % expires, "s3v2", "GET", s3 + "/", expires=expires)
        yield vector("s3v2 token %s" % expires, "s3v2", "DELETE", s3 + "/bucket/key", token=TOKEN, expires=expires)


def vectors():
    s3 = "http://s3.example.test:9999"
    keys = ["plain", "dir/with space/é漢🐝", "a+b=c&d?e#f", "100%/%41", "..//./x", "(')!*~", "tab\there", ";:@$,"]
    for key in keys:
        url = s3 + "/bucket/" + quote(key, safe="/~")
        yield vector("s3 get " + key, "s3", "GET", url)
        yield vector("s3 put " + key, "s3", "PUT", url, {"Content-Type": "text/plain", "x-amz-meta-note": "  two   spaces "}, b"hello")
        yield vector("s3 presigned get " + key, "s3", "GET", url, expires=604800)
    yield vector("s3 presigned put with token", "s3", "PUT", s3 + "/bucket/key", {"x-amz-acl": "private"}, b"hello", TOKEN, 60)
    yield vector("s3 token", "s3", "DELETE", s3 + "/bucket/key", token=TOKEN)
    for query in ["list-type=2&prefix=a%2Fb&delimiter=%2F", "uploads", "prefix=%C3%A9%20x&marker=", "b=2&a=3&a=1&a-b=0&A=9",
                  "versionId=null&partNumber=1", "continuation-token=1%2B2%3D%3D"]:
        yield vector("s3 query " + query, "s3", "GET", s3 + "/bucket?" + query)
        yield vector("s3 presigned query " + query, "s3", "GET", s3 + "/bucket?" + query, expires=1)
    form = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    body = b"Action=DescribeInstances&Version=2016-11-15&Filter.1.Name=tag%3Aa&Filter.1.Value.1=%2A"
    yield vector("ec2 form", "ec2", "POST", "https://ec2.example.test/", form, body)
    yield vector("ec2 form with token", "ec2", "POST", "https://ec2.example.test/", form, body, TOKEN)
    yield vector("iam form in its home", "iam", "POST", "https://iam.example.test/", form, b"Action=GetUser&Version=2010-05-08", signing_region="us-east-1")
    identity = "https://sts.example.test/?Action=GetCallerIdentity&Version=2011-06-15"
    yield vector("sts presigned", "sts", "GET", identity, expires=60)
    yield vector("sts presigned with token", "sts", "GET", identity, {"x-k8s-aws-id": "one"}, token=TOKEN, expires=60)
    yield from vectors2(keys)
    yield vector("double encoded path", "iam", "GET", "https://iam.example.test/a%20b//c/../%C3%A9/?x=y")


json.dump({"source": "botocore " + botocore.__version__, "key": KEY, "secret": SECRET, "region": REGION,
           "time": NOW.strftime("%Y%m%dT%H%M%SZ"), "vectors": list(vectors())}, sys.stdout, indent=1, ensure_ascii=True)
print()
