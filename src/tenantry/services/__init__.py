"""One deep package per capability. They may use each other, without circles."""
