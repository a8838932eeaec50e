    sum += HAS_cp_async + width;
