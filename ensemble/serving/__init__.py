"""The service: pictures in over HTTP, tags out, from one open stack."""
