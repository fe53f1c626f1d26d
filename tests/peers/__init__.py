"""Real servers, proxies and resolvers that the tests talk to, and a scripted one of our own."""
