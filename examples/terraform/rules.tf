# A rule set as one has it for AWS: a rule, its queue, the role that lets the rule write there. Nothing in it knows of thingstorm.
terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.60, < 7"
    }
  }
}

resource "aws_sqs_queue" "hot" {
  name = "hot-lamps"
}

resource "aws_iam_role" "rules" {
  name = "hot-lamps-rule"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "iot.amazonaws.com" }
    }]
  })
}

resource "aws_iam_role_policy" "write" {
  role = aws_iam_role.rules.id
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sqs:SendMessage", Resource = aws_sqs_queue.hot.arn }]
  })
}

resource "aws_iot_topic_rule" "hot" {
  name        = "hot_lamps"
  enabled     = true
  sql         = "SELECT temp_c, clientid() AS device_id, round(temp_c * 1.8 + 32) AS temp_f FROM 'dt/lamp/+/telemetry' WHERE temp_c > 80"
  sql_version = "2016-03-23"

  sqs {
    queue_url  = aws_sqs_queue.hot.url
    role_arn   = aws_iam_role.rules.arn
    use_base64 = false
  }
}

output "queue_url" {
  value = aws_sqs_queue.hot.url
}
