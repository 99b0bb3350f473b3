"""Registries over HTTP (OCI distribution-spec 1.1).

`client` reads and writes images, and asks `mirrors` first. Beneath it: `images` is what one
registry is asked for, `listing` what comes page by page, `uploads` a blob on its way in; `session`
is one registry, its way in and its challenges, and `ask` one question to it; `tokens` and `logins`
remember what it granted and refused, `notices` what it warned of, `certificates` how TLS is spoken
with it; `wire` sends one request, `bodies` are what goes and what comes, `connections` the ways
there (`through` a proxy that speaks TLS itself, and past its login by `admission`), `mishaps` what
aiohttp raises on them; `rates` is how often a registry is asked. Pure: `hosts` (where a registry
is), `quirks` (what is different there), `trust` (where it may send us), `auth` (challenges and
tokens), `answers` (answers → errors), `kinds` (which kind of manifest a body is), `ranges` (parts
of blobs).
"""
