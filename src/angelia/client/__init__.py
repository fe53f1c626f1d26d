"""The client's role: sessions, requests, responses, redirects, cookies, authentication, tracing."""
