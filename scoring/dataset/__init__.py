"""The dataset of a workspace: importing it, its stored records, and where its images are."""
