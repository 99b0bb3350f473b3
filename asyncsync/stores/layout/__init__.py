"""OCI image layouts (OCI image-spec, “OCI Image Layout”), carried where no network goes.

`store` is a layout as a source and as a target of copies. Beneath it, blocking: `folder` is one in
a folder, with `writing` for files that come to be whole or not at all; `archive` is one in a tar
that is read, `archiving` one that is written, with `tar_draft` for the file on its way and
`tar_members` for what is where in it. `extent` is where the bytes of a blob are, `moving` how they
move; `mishaps` is what goes wrong on a disk, `referring` what refers to what, `wholeness` whether
all of an image is there. Pure: `index` (what index.json and oci-layout say), `naming` (what may be
meant by a name that is not in it).
"""
