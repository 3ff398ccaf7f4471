"""The engine of the published C-MET: the EDTalk generator, driven by the connector."""
