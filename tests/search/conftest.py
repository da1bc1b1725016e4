"""A project with a store, and servers for it."""

from tests.stores import no_store_of_the_user, postgres, root, server_home

__all__ = ["no_store_of_the_user", "postgres", "root", "server_home"]
