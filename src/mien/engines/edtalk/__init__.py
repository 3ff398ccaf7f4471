"""The published engine of C-MET: the EDTalk generator moved by the connector."""
