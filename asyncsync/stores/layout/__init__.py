"""OCI image layouts as a store: folders and tars that are carried where no network goes."""
