"""Registries over HTTP (OCI distribution-spec 1.1).

`client` asks for manifests. Beneath it: `session` is one registry, its way in and its challenges;
`tokens` and `logins` remember what it granted and refused; `wire` sends one request and knows
aiohttp; `rates` is how often it is asked. Pure: `hosts` (where a registry is), `quirks` (what is
different there), `trust` (where it may send us), `auth` (challenges and tokens), `answers` (answers
→ errors), `kinds` (which kind of manifest a body is).
"""
