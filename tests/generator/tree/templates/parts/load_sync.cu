    sum += 100 + width;
