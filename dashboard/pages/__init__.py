"""The pages, each in a folder with the panels that only it uses."""
