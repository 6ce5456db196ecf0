"""The bundled demo data and the bundled model, with the scripts that rebuild them."""
