"""Media: pictures, video and audio in and out, frame by frame, with exact times."""
