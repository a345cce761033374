"""This file holds what a service does against the document that describes it (`berth openapi`): requests
that were accepted, answers, and events of streams. It never asks a service anything.

Answers are read strictly here: a member that the document does not name is wrong, although clients are
told to expect new ones. A keyword of JSON Schema that this file does not know is an error of its own."""

import base64
import datetime
import json
import re
import subprocess


class Undescribed(Exception):
    """Where the service and its document differ."""


TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
SILENT = {"description", "title", "default", "examples", "contentMediaType", "x-berth-events"}
# A request may be refused with these before it is known which operation it is.
ANYWHERE = {(400, "invalid_request"), (404, "not_found"), (405, "method_not_allowed"), (413, "too_large"), (431, "too_large"), (503, "unavailable")}


def is_type(value, name):
    if name == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    if name == "number":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, TYPES[name])


class Document:
    def __init__(self, berth):
        self.root = json.loads(subprocess.run([berth, "openapi"], stdout=subprocess.PIPE, check=True).stdout)
        self.operations = []
        for path, item in self.root["paths"].items():
            pattern = re.compile(re.sub(r"\\\{[a-z_]+\\\}", "[^/]+", re.escape(path)) + "$")
            for method, operation in item.items():
                self.operations.append((method.upper(), pattern, operation))
        self.seen = set()

    def at(self, reference):
        node = self.root
        for name in reference[2:].split("/"):
            node = node[name]
        return node

    # ---- schemas ----

    def fits(self, schema, value, where="", strict=True):
        try:
            self.hold(schema, value, where, strict)
        except Undescribed:
            return False
        return True

    def hold(self, schema, value, where="", strict=True):
        def need(condition, *words):
            if not condition:
                raise Undescribed("%s: %s: %s" % (where or "/", " ".join(str(w) for w in words), json.dumps(value)[:160]))

        for keyword, said in schema.items():
            if keyword == "$ref":
                self.hold(self.at(said), value, where, strict)
            elif keyword == "type":
                need(any(is_type(value, name) for name in ([said] if isinstance(said, str) else said)), "is not", said)
            elif keyword == "enum":
                need(value in said, "is none of", said)
            elif keyword == "const":
                need(value == said, "is not", said)
            elif keyword == "allOf":
                for part in said:
                    self.hold(part, value, where, strict)
            elif keyword in ("anyOf", "oneOf"):
                fitting = sum(self.fits(part, value, where, strict) for part in said)
                need(fitting == 1 if keyword == "oneOf" else fitting, "fits", fitting, "of", keyword)
            elif keyword == "pattern":
                need(not isinstance(value, str) or re.search(said, value), "does not match", said)
            elif keyword in ("minimum", "maximum"):
                if is_type(value, "number"):
                    need(value >= said if keyword == "minimum" else value <= said, "goes beyond", keyword, said)
            elif keyword in ("minLength", "maxLength"):
                if isinstance(value, str):
                    need(len(value) >= said if keyword == "minLength" else len(value) <= said, "has not the length", keyword, said)
            elif keyword in ("minItems", "maxItems"):
                if isinstance(value, list):
                    need(len(value) >= said if keyword == "minItems" else len(value) <= said, "has not the length", keyword, said)
            elif keyword == "maxProperties":
                need(not isinstance(value, dict) or len(value) <= said, "has too many members")
            elif keyword == "uniqueItems":
                if isinstance(value, list):
                    need(len({json.dumps(v, sort_keys=True) for v in value}) == len(value), "has the same twice")
            elif keyword == "items":
                if isinstance(value, list):
                    for i, item in enumerate(value):
                        self.hold(said, item, "%s/%d" % (where, i), strict)
            elif keyword == "required":
                if isinstance(value, dict):
                    need(not [name for name in said if name not in value], "lacks", [name for name in said if name not in value])
            elif keyword == "propertyNames":
                if isinstance(value, dict):
                    for name in value:
                        self.hold(said, name, where + "/" + name, strict)
            elif keyword == "properties":
                if isinstance(value, dict):
                    for name in value:
                        if name in said:
                            self.hold(said[name], value[name], where + "/" + name, strict)
                        elif strict and schema.get("type") == "object" and "additionalProperties" not in schema:
                            need(False, "has a member that the document does not name:", name)
            elif keyword == "additionalProperties":
                if isinstance(value, dict):
                    for name in set(value) - set(schema.get("properties", {})):
                        need(said is not False, "may not have", name)
                        if said is not True:
                            self.hold(said, value[name], where + "/" + name, strict)
            elif keyword == "format":
                if said == "date-time" and isinstance(value, str):
                    datetime.datetime.strptime(value, "%Y-%m-%dT%H:%M:%S.%fZ")
                else:
                    need(said == "date-time", "has an unknown format", said)
            elif keyword == "contentEncoding":
                if isinstance(value, str):
                    base64.b64decode(value, validate=True)
            else:
                need(keyword in SILENT or keyword == "$defs", "is described by an unknown keyword", keyword)

    # ---- exchanges ----

    def operation(self, method, path):
        for name, pattern, operation in self.operations:
            if name == method and pattern.match(path.split("?")[0]):
                return operation
        return None

    def answer(self, method, path, body, status, headers, raw):
        """Raises Undescribed when this exchange is not what the document says."""
        where = "%s %s answered %d" % (method, path, status)
        operation = self.operation(method, path)
        kind = headers.get("Content-Type", "").split(";")[0]
        if "X-Request-Id" not in headers:
            raise Undescribed(where + " without X-Request-Id")
        if operation is None:
            return self.problem(where, status, kind, raw, None)
        described = operation["responses"].get(str(status))
        if status >= 400 and kind != "application/json" or described is None:
            return self.problem(where, status, kind, raw, described, method == "HEAD")
        self.seen.add((operation["operationId"], status))
        if method == "HEAD" or (status == 304 and not raw):
            return None
        if kind not in described.get("content", {}):
            raise Undescribed("%s with %r, which is not described" % (where, kind))
        if kind == "application/json":
            self.hold(described["content"][kind]["schema"], json.loads(raw), where)
        if isinstance(body, dict) and status < 400:
            self.hold(operation["requestBody"]["content"]["application/json"]["schema"], body, where + " to")
        return None

    def problem(self, where, status, kind, raw, described, bodiless=False):
        if bodiless and not raw:
            return
        if kind != "application/problem+json":
            raise Undescribed("%s with %r, which is not described" % (where, kind))
        problem = json.loads(raw)
        if described is None and (status, problem.get("code")) not in ANYWHERE:
            raise Undescribed("%s %s, which is not described" % (where, problem.get("code")))
        schema = self.root["components"]["schemas"]["Problem"]
        if described is not None and (status, problem.get("code")) not in ANYWHERE:
            schema = described["content"][kind]["schema"]
        self.hold(schema, problem, where)
        if problem["status"] != status:
            raise Undescribed(where + ": " + repr(problem["status"]))

    def event(self, method, path, name, data):
        operation = self.operation(method, path)
        success = [r for s, r in operation["responses"].items() if s in ("200", "201")][0]
        events = success["content"]["text/event-stream"]["x-berth-events"]
        if name not in events and "*" not in events:
            raise Undescribed("%s %s sent an event %r" % (method, path, name))
        self.hold(events.get(name, events.get("*")), data, "%s %s: %s" % (method, path, name))
