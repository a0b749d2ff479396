"""The command line. Modules here import click and little else; what a command needs is imported when it runs."""
