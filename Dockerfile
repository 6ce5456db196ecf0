# Serves the dashboard of a mounted workspace. docs/start.md shows how to build and run it.
FROM python:3.13-slim
# Forwards a published port to the dashboard, which listens on the loopback address only.
RUN apt-get update && apt-get install --yes --no-install-recommends socat && rm -r /var/lib/apt/lists/*
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE visnec_studio.py ./
COPY scoring scoring
COPY dashboard dashboard
COPY data/demo data/demo
COPY data/tiny-vlm data/tiny-vlm
# All but the packages that run a model, which take most of the space: the dashboard imports none.
RUN python -c "import tomllib; print(*(name for name in tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'] if not name.startswith(('torch', 'transformers', 'safetensors'))), sep='\n')" > requirements.txt \
    && pip install --no-cache-dir --constraint constraints.txt --requirement requirements.txt \
    && pip install --no-cache-dir --no-deps . \
    && useradd visnec
USER visnec
ENV HOME=/tmp VISNEC_WORKSPACE=/workspace
ENTRYPOINT ["visnec"]
CMD ["dashboard"]
