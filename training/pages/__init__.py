"""Pages about training for people to read: self-contained HTML with pictures as SVG."""
