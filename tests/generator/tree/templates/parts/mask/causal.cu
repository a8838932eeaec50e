    if (lane > p.cols) sum = 0;
