"""What is shown of replays: tables, Parquet files and a picture, in a directory that appears whole or not at all."""
