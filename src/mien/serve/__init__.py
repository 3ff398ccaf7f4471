"""mien for people and machines beyond the command line: jobs, the HTTP API, MCP and the studio."""
