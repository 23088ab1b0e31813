# %% [markdown]
# # Publish, read, plot
#
# Open this file in an editor that runs `# %%` cells, or run it: `python examples/notebook.py`.
# A worker must serve `capitals`, as in the README. Addresses come from the environment.

# %%
import os
import time
from collections import Counter

from topicserve import Record, RecordProducer, ResultReader

kafka = os.environ.get("KAFKA", "127.0.0.1:9092")
redis = os.environ.get("REDIS", "redis://127.0.0.1:6379")
input_topic = os.environ.get("INPUT_TOPIC", "records")
output_topic = os.environ.get("OUTPUT_TOPIC", "results")

# %% [markdown]
# Publish some records. The metadata says when each was published.

# %%
countries = ["France", "Japan", "Kenya", "Peru", "Canada"] * 20
run = f"notebook-{time.time_ns()}"
with RecordProducer.connect(kafka, redis, topic=input_topic) as producer:
    for country in countries:
        metadata = {"run": run, "published": time.time()}
        producer.publish(Record(instance=country, metadata=metadata))

# %% [markdown]
# Read the results of this run, among all that the topic holds.

# %%
ours = []
with ResultReader.connect(kafka, topic=output_topic) as reader:
    for result in reader.read(timeout_seconds=30):
        if result.metadata and result.metadata.get("run") == run:
            ours.append(result)
        if len(ours) == len(countries):
            break

# %%
for capital, count in Counter(result.value for result in ours).most_common():
    print(f"{capital:10} {'#' * count} {count}")

# %% [markdown]
# The same as a picture, where matplotlib is installed.

# %%
try:
    import matplotlib.pyplot as plt
except ModuleNotFoundError:
    print("pip install matplotlib for a picture")
else:
    counts = Counter(result.value for result in ours)
    plt.bar(list(counts), list(counts.values()))
    plt.title(f"{len(ours)} results of version {ours[0].version}")
    plt.savefig(os.environ.get("PICTURE", "capitals.png"))
