"""Connections to the services, made on demand; importing this package imports no driver."""
