"""Made-up English prose in which the language of a country must be known to go on.

``countries.csv`` names countries, peoples and towns; which language belongs to which comes from
Unicode's CLDR by way of Babel. ``forms.txt`` and ``clauses.txt`` hold the sentences. A passage is
put together at random: where somebody was, something that has no bearing on it, and the language.
"""
