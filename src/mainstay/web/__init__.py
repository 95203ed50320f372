"""The HTTP toolkit: who is calling, problem details, bodies with limits, and the front of the application.

Every request passes `front.Front`: it gives the request its ids, counts and times it, turns every error into
`application/problem+json`, and takes the hottest paths to plain ASGI handlers before the framework sees them.
Routes state who may call them in their signatures with the guards of `callers`. Import the modules by name.
"""
