"""What boto3 does to S3 here. Run by TestS3ByBoto3: argv is one endpoint per node; keys and region are in the environment.

Prints "ok NAME" or "FAIL NAME" and a traceback for each check, and ends with 1 when one failed.
"""
import base64
import hashlib
import io
import os
import random
import sys
import time
import traceback
import zlib

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

MIB = 1 << 20
one, two, three = [
    boto3.client("s3", endpoint_url=url, config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}))
    for url in sys.argv[1:4]
]
BUCKET = "boto-%d" % os.getpid()


def refused(code, call, **kwargs):
    try:
        call(**kwargs)
    except ClientError as e:
        assert e.response["Error"]["Code"] == code, e.response
        return e.response
    raise AssertionError("not refused with " + code)


def noise(n, seed):
    return random.Random(seed).randbytes(n)


def buckets():
    one.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": os.environ["AWS_DEFAULT_REGION"]})
    assert BUCKET in [b["Name"] for b in two.list_buckets()["Buckets"]]
    assert three.get_bucket_location(Bucket=BUCKET)["LocationConstraint"] == os.environ["AWS_DEFAULT_REGION"]
    two.head_bucket(Bucket=BUCKET)
    refused("404", three.head_bucket, Bucket=BUCKET + "-none")
    refused("BucketAlreadyOwnedByYou", two.create_bucket, Bucket=BUCKET,
            CreateBucketConfiguration={"LocationConstraint": os.environ["AWS_DEFAULT_REGION"]})
    refused("NoSuchBucket", two.list_objects_v2, Bucket=BUCKET + "-none")


def objects():
    for size in (0, 1, 4096, 65536, 65537, MIB, 5 * MIB + 3):
        body = noise(size, size)
        put = one.put_object(Bucket=BUCKET, Key="size/%d" % size, Body=body, ContentType="text/x-noise",
                             Metadata={"shape": "round", "utf": "caf=C3=A9"}, CacheControl="no-cache")
        assert put["ETag"] == '"%s"' % hashlib.md5(body).hexdigest(), put
        got = two.get_object(Bucket=BUCKET, Key="size/%d" % size)
        assert got["Body"].read() == body
        assert got["ContentLength"] == size and got["ETag"] == put["ETag"] and got["ContentType"] == "text/x-noise"
        same(got["Metadata"], {"shape": "round", "utf": "caf=C3=A9"})
        same(got["CacheControl"], "no-cache")
        head = three.head_object(Bucket=BUCKET, Key="size/%d" % size)
        assert head["ContentLength"] == size and head["LastModified"] == got["LastModified"]
    refused("NoSuchKey", two.get_object, Bucket=BUCKET, Key="none")
    refused("404", two.head_object, Bucket=BUCKET, Key="none")


def ranges():
    body = noise(3 * MIB + 7, 1)
    one.put_object(Bucket=BUCKET, Key="ranged", Body=body)
    n = len(body)
    for want, a, b in [("0-0", 0, 1), ("100-65699", 100, 65700), ("%d-" % (n - 5), n - 5, n), ("-9", n - 9, n),
                       ("0-%d" % (9 * n), 0, n), ("65536-131071", 65536, 131072), ("1048575-2097153", 1048575, 2097154)]:
        got = two.get_object(Bucket=BUCKET, Key="ranged", Range="bytes=" + want)
        assert got["Body"].read() == body[a:b], want
        assert got["ContentRange"] == "bytes %d-%d/%d" % (a, b - 1, n), got["ContentRange"]
        assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
    refused("InvalidRange", three.get_object, Bucket=BUCKET, Key="ranged", Range="bytes=%d-" % n)


def conditions():
    etag = one.put_object(Bucket=BUCKET, Key="cond", Body=b"first")["ETag"]
    modified = one.head_object(Bucket=BUCKET, Key="cond")["LastModified"]
    assert two.get_object(Bucket=BUCKET, Key="cond", IfMatch=etag)["Body"].read() == b"first"
    refused("PreconditionFailed", two.get_object, Bucket=BUCKET, Key="cond", IfMatch='"0"')
    refused("304", three.get_object, Bucket=BUCKET, Key="cond", IfNoneMatch=etag)
    refused("304", three.get_object, Bucket=BUCKET, Key="cond", IfModifiedSince=modified)
    assert three.get_object(Bucket=BUCKET, Key="cond", IfUnmodifiedSince=modified)["Body"].read() == b"first"
    refused("412", three.head_object, Bucket=BUCKET, Key="cond", IfMatch='"0"')


def listings():
    keys = ["list/%s/%03d" % (d, i) for d in "abc" for i in range(40)] + ["list/top", "list/caf\u00e9 +&<>\u2603"]
    for i, k in enumerate(keys):
        (one, two, three)[i % 3].put_object(Bucket=BUCKET, Key=k, Body=k.encode())
    keys.sort(key=lambda k: k.encode())
    pages = list(two.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="list/", PaginationConfig={"PageSize": 7}))
    assert len(pages) == -(-len(keys) // 7), len(pages)
    assert [o["Key"] for p in pages for o in p.get("Contents", [])] == keys
    pages = list(three.get_paginator("list_objects").paginate(Bucket=BUCKET, Prefix="list/", PaginationConfig={"PageSize": 50}))
    assert [o["Key"] for p in pages for o in p.get("Contents", [])] == keys
    page = one.list_objects_v2(Bucket=BUCKET, Prefix="list/", Delimiter="/")
    assert [p["Prefix"] for p in page["CommonPrefixes"]] == ["list/a/", "list/b/", "list/c/"], page
    assert len(page["Contents"]) == 2
    got, token = [], None
    while True:
        more = {"ContinuationToken": token} if token else {}
        page = two.list_objects_v2(Bucket=BUCKET, Prefix="list/", Delimiter="/", MaxKeys=1, **more)
        got += [p["Prefix"] for p in page.get("CommonPrefixes", [])] + [o["Key"] for o in page.get("Contents", [])]
        if not page["IsTruncated"]:
            break
        token = page["NextContinuationToken"]
    assert sorted(got) == sorted(["list/a/", "list/b/", "list/c/", "list/top", "list/caf\u00e9 +&<>\u2603"]), got
    page = two.list_objects_v2(Bucket=BUCKET, Prefix="list/", StartAfter="list/c/037")
    assert [o["Key"] for o in page["Contents"]] == [k for k in keys if k.encode() > b"list/c/037"]


def multipart():
    body = noise(16 * MIB + 5, 3)
    config = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, max_concurrency=4)
    one.upload_fileobj(io.BytesIO(body), BUCKET, "multi", Config=config)
    head = two.head_object(Bucket=BUCKET, Key="multi")
    parts = [body[i:i + 5 * MIB] for i in range(0, len(body), 5 * MIB)]
    want = hashlib.md5(b"".join(hashlib.md5(p).digest() for p in parts)).hexdigest()
    assert head["ETag"] == '"%s-%d"' % (want, len(parts)), head["ETag"]
    back = io.BytesIO()
    three.download_fileobj(BUCKET, "multi", back, Config=config)
    assert back.getvalue() == body
    part = two.get_object(Bucket=BUCKET, Key="multi", PartNumber=2)
    assert part["Body"].read() == parts[1] and part["PartsCount"] == len(parts)


def multipart_by_hand():
    up = one.create_multipart_upload(Bucket=BUCKET, Key="hand", Metadata={"by": "hand"})["UploadId"]
    a, b = noise(5 * MIB, 4), noise(100, 5)
    etag2 = three.upload_part(Bucket=BUCKET, Key="hand", UploadId=up, PartNumber=2, Body=b)["ETag"]
    two.upload_part(Bucket=BUCKET, Key="hand", UploadId=up, PartNumber=1, Body=b)
    etag1 = two.upload_part(Bucket=BUCKET, Key="hand", UploadId=up, PartNumber=1, Body=a)["ETag"]
    listed = one.list_parts(Bucket=BUCKET, Key="hand", UploadId=up)["Parts"]
    assert [(p["PartNumber"], p["Size"]) for p in listed] == [(1, len(a)), (2, len(b))], listed
    assert up in [u["UploadId"] for u in two.list_multipart_uploads(Bucket=BUCKET)["Uploads"]]
    wrong = {"Parts": [{"PartNumber": 2, "ETag": etag2}, {"PartNumber": 1, "ETag": etag1}]}
    refused("InvalidPartOrder", one.complete_multipart_upload, Bucket=BUCKET, Key="hand", UploadId=up, MultipartUpload=wrong)
    wrong = {"Parts": [{"PartNumber": 1, "ETag": etag2}, {"PartNumber": 2, "ETag": etag2}]}
    refused("InvalidPart", one.complete_multipart_upload, Bucket=BUCKET, Key="hand", UploadId=up, MultipartUpload=wrong)
    right = {"Parts": [{"PartNumber": 1, "ETag": etag1}, {"PartNumber": 2, "ETag": etag2}]}
    three.complete_multipart_upload(Bucket=BUCKET, Key="hand", UploadId=up, MultipartUpload=right)
    got = two.get_object(Bucket=BUCKET, Key="hand")
    assert got["Body"].read() == a + b
    same(got["Metadata"], {"by": "hand"})
    refused("NoSuchUpload", two.list_parts, Bucket=BUCKET, Key="hand", UploadId=up)
    gone = one.create_multipart_upload(Bucket=BUCKET, Key="gone")["UploadId"]
    one.upload_part(Bucket=BUCKET, Key="gone", UploadId=gone, PartNumber=1, Body=b)
    two.abort_multipart_upload(Bucket=BUCKET, Key="gone", UploadId=gone)
    refused("NoSuchUpload", three.upload_part, Bucket=BUCKET, Key="gone", UploadId=gone, PartNumber=1, Body=b)
    small = one.create_multipart_upload(Bucket=BUCKET, Key="small")["UploadId"]
    tags = [one.upload_part(Bucket=BUCKET, Key="small", UploadId=small, PartNumber=i, Body=b)["ETag"] for i in (1, 2)]
    parts = {"Parts": [{"PartNumber": i + 1, "ETag": t} for i, t in enumerate(tags)]}
    refused("EntityTooSmall", one.complete_multipart_upload, Bucket=BUCKET, Key="small", UploadId=small, MultipartUpload=parts)
    one.abort_multipart_upload(Bucket=BUCKET, Key="small", UploadId=small)


def copies():
    body = noise(2 * MIB, 6)
    one.put_object(Bucket=BUCKET, Key="source /\u00e9", Body=body, Metadata={"a": "1"}, ContentType="text/plain")
    two.copy_object(Bucket=BUCKET, Key="copy", CopySource={"Bucket": BUCKET, "Key": "source /\u00e9"})
    got = three.get_object(Bucket=BUCKET, Key="copy")
    assert got["Body"].read() == body
    same(got["Metadata"], {"a": "1"})
    same(got["ContentType"], "text/plain")
    two.copy_object(Bucket=BUCKET, Key="copy", CopySource={"Bucket": BUCKET, "Key": "copy"}, MetadataDirective="REPLACE", Metadata={"b": "2"})
    assert three.head_object(Bucket=BUCKET, Key="copy")["Metadata"] == {"b": "2"}
    refused("InvalidRequest", one.copy_object, Bucket=BUCKET, Key="copy", CopySource={"Bucket": BUCKET, "Key": "copy"})
    one.delete_object(Bucket=BUCKET, Key="source /\u00e9")
    assert three.get_object(Bucket=BUCKET, Key="copy")["Body"].read() == body
    refused("NoSuchKey", one.copy_object, Bucket=BUCKET, Key="x", CopySource={"Bucket": BUCKET, "Key": "none"})


def checksums():
    body = noise(70000, 7)
    sha = base64.b64encode(hashlib.sha256(body).digest()).decode()
    crc = base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
    put = one.put_object(Bucket=BUCKET, Key="sums", Body=body, ChecksumAlgorithm="SHA256")
    assert put["ChecksumSHA256"] == sha, put
    got = two.get_object(Bucket=BUCKET, Key="sums", ChecksumMode="ENABLED")
    assert got["Body"].read() == body and got["ChecksumSHA256"] == sha
    assert one.put_object(Bucket=BUCKET, Key="sums", Body=body, ChecksumCRC32=crc)["ChecksumCRC32"] == crc
    bad = base64.b64encode(b"0000").decode()
    refused("BadDigest", one.put_object, Bucket=BUCKET, Key="sums-bad", Body=body, ChecksumCRC32=bad)
    md5 = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    refused("BadDigest", one.put_object, Bucket=BUCKET, Key="sums-bad", Body=body, ContentMD5=md5)
    refused("InvalidDigest", one.put_object, Bucket=BUCKET, Key="sums-bad", Body=body, ContentMD5="nonsense")
    refused("404", two.head_object, Bucket=BUCKET, Key="sums-bad")


def deletes():
    keys = ["del/%d" % i for i in range(20)]
    for k in keys:
        one.put_object(Bucket=BUCKET, Key=k, Body=b"x")
    two.delete_object(Bucket=BUCKET, Key=keys[0])
    two.delete_object(Bucket=BUCKET, Key=keys[0])
    refused("NoSuchKey", three.get_object, Bucket=BUCKET, Key=keys[0])
    out = three.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": k} for k in keys]})
    assert sorted(d["Key"] for d in out["Deleted"]) == sorted(keys) and "Errors" not in out
    assert one.list_objects_v2(Bucket=BUCKET, Prefix="del/")["KeyCount"] == 0


def bad_input():
    key = "k" * 1025
    refused("KeyTooLongError", one.put_object, Bucket=BUCKET, Key=key, Body=b"")
    one.put_object(Bucket=BUCKET, Key=key[:1024], Body=b"long")
    assert two.get_object(Bucket=BUCKET, Key=key[:1024])["Body"].read() == b"long"
    refused("InvalidArgument", one.upload_part, Bucket=BUCKET, Key="x", UploadId="none", PartNumber=10001, Body=b"")
    refused("NoSuchUpload", one.upload_part, Bucket=BUCKET, Key="x", UploadId="none", PartNumber=1, Body=b"")
    refused("BucketNotEmpty", one.delete_bucket, Bucket=BUCKET)
    for call in (one.get_bucket_versioning, one.get_bucket_policy, one.get_bucket_lifecycle_configuration, one.get_bucket_cors):
        try:
            call(Bucket=BUCKET)
        except ClientError as e:
            assert e.response["Error"]["Code"] != "InternalError", (call, e.response)


def emptied():
    for page in two.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        three.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": o["Key"]} for o in page["Contents"]]})
    one.delete_bucket(Bucket=BUCKET)
    refused("404", two.head_bucket, Bucket=BUCKET)


def same(got, want):
    assert got == want, "got %r, want %r" % (got, want)


failed = False
began = time.time()
for check in (buckets, objects, ranges, conditions, listings, multipart, multipart_by_hand, copies, checksums, deletes,
              bad_input, emptied):
    try:
        check()
        print("ok", check.__name__, "%.1f s" % (time.time() - began), flush=True)
    except Exception:
        failed = True
        print("FAIL", check.__name__, traceback.format_exc().replace("\n", "\n    "), flush=True)
sys.exit(failed)
