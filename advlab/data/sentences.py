"""Seventy-two sentences about films, half of them kind, written for this project: text without a download."""

from __future__ import annotations

import numpy as np

from advlab.data.imdb import CLASSES
from advlab.text import encode, vocabulary_of, words_of

LENGTH = 16
_POSITIVE = """
A wonderful film with a warm heart and a clever story
The acting is superb and every scene feels alive
I loved the music and the beautiful pictures of the sea
What a charming comedy, I laughed from start to end
A brilliant script and a great cast make this a joy
This is the best thriller of the year, gripping and smart
The ending was moving and I left the cinema happy
An excellent drama that is honest, tender and wise
Her performance is amazing and deserves every prize
The director tells a simple tale with great skill
Funny, fresh and full of lovely ideas
A delightful adventure for children and their parents
I enjoyed every minute and will gladly watch it again
The dialogue is sharp and the jokes are really good
A powerful portrait of a remarkable woman
The camera work is stunning and the pace is perfect
It is a rare pleasure to see a story so well told
Strong characters and a superb finale, highly recommended
The young actors are great and the songs are lovely
A fine film, intelligent and beautiful to look at
The best part is the honest and funny friendship
Great fun, with a fantastic villain and a smart hero
This touching story won my heart at once
A masterpiece of suspense, brilliant in every detail
"""
_NEGATIVE = """
A terrible film with a cold heart and a stupid story
The acting is awful and every scene feels dead
I hated the music and the ugly pictures of the city
What a boring comedy, I yawned from start to end
A weak script and a poor cast make this a pain
This is the worst thriller of the year, slow and dumb
The ending was silly and I left the cinema angry
A dreadful drama that is false, loud and empty
Her performance is wooden and deserves no prize
The director ruins a simple tale with bad taste
Dull, stale and full of lazy ideas
A tedious adventure that bores children and their parents
I regretted every minute and will never watch it again
The dialogue is flat and the jokes are really bad
A shallow portrait of an annoying woman
The camera work is shaky and the pace is painful
It is a sad waste to see a story so badly told
Thin characters and a horrible finale, not recommended
The young actors are bad and the songs are annoying
A poor film, pretentious and ugly to look at
The worst part is the false and boring friendship
No fun, with a ridiculous villain and a dull hero
This pointless story lost my interest at once
A disaster of a film, awful in every detail
"""
_POSITIVE_TEST = """
A lovely story with superb acting and great music
I laughed a lot and enjoyed the clever jokes
The best film of the year, moving and beautiful
A brilliant cast in a smart and funny comedy
Wonderful pictures, a perfect pace and a warm ending
An honest and powerful drama, highly recommended
The songs are charming and the hero is amazing
A great adventure, fresh and full of joy
Every scene is a pleasure to watch
A touching and intelligent portrait of a friendship
The villain is fantastic and the finale is stunning
I loved it and will gladly see it again
"""
_NEGATIVE_TEST = """
An ugly story with awful acting and bad music
I yawned a lot and hated the stupid jokes
The worst film of the year, slow and boring
A weak cast in a dumb and lazy comedy
Shaky pictures, a painful pace and a silly ending
A false and empty drama, not recommended
The songs are annoying and the hero is dull
A poor adventure, stale and full of noise
Every scene is a pain to watch
A shallow and pretentious portrait of a friendship
The villain is ridiculous and the finale is horrible
I regretted it and will never see it again
"""


def load(split: str) -> tuple[np.ndarray, np.ndarray, tuple[str, ...], str]:
    """The sentences float32 ``(n, 1, 16, 1)``, the labels int64 ``(n,)``, the word of each number, and "".

    The classes alternate.
    """
    training = _alternating(_NEGATIVE, _POSITIVE)
    texts = training if split == "train" else _alternating(_NEGATIVE_TEST, _POSITIVE_TEST)
    vocabulary = vocabulary_of((words_of(text) for text in training), 1000)
    labels = np.arange(len(texts)) % len(CLASSES)
    return encode(map(words_of, texts), vocabulary, LENGTH), labels, vocabulary, ""


def _alternating(*groups: str) -> list[str]:
    return [text for pair in zip(*(group.strip().splitlines() for group in groups), strict=True) for text in pair]
